// Loads a SavedModel as TF Serving does and runs one signature: the C library of the TensorFlow wheel, no Python.
//
// session_host FOLDER SIGNATURE LIBRARIES [afresh] < requests > answers
//   LIBRARIES: shared libraries with further kernels, separated by ':', or '-' for none.
//   afresh: load the SavedModel anew for each request, as for a new version, before the one in memory is unloaded; the
//   resident megabytes behind each answer go to stderr, a line each.
//   requests, answers: tensors, one after another, see read_tensor and write_tensor; an empty line after each request
//   and after each answer. The answer to a request that fails is one text, "error".
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "tensorflow/c/c_api.h"
#include "tensorflow/c/tf_tstring.h"

namespace tensorflow {
void DisableXlaCompilation();  // what TF Serving calls unless it is told otherwise
}

namespace {

[[noreturn]] void fail(const std::string& what, int code) {
  std::cerr << what << std::endl;
  std::exit(code);
}

std::string error_of(TF_Status* status) {
  return "code " + std::to_string(TF_GetCode(status)) + ": " + TF_Message(status);
}

void check(TF_Status* status) {
  if (TF_GetCode(status) != TF_OK) fail(error_of(status), 3);
}

// The fields of a protocol buffer: number -> payloads of those that have a length.
std::multimap<int, std::string> fields(const std::string& message) {
  std::multimap<int, std::string> found;
  size_t at = 0;
  auto varint = [&]() {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      uint8_t byte = message.at(at++);
      value |= uint64_t(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < message.size()) {
    uint64_t tag = varint();
    if ((tag & 7) == 0) varint();
    else if ((tag & 7) == 1) at += 8;
    else if ((tag & 7) == 5) at += 4;
    else {
      uint64_t length = varint();
      found.emplace(int(tag >> 3), message.substr(at, length));
      at += length;
    }
  }
  return found;
}

// The entries of a map field.
std::map<std::string, std::string> entries(const std::string& message, int number) {
  std::map<std::string, std::string> found;
  auto all = fields(message);
  for (auto range = all.equal_range(number); range.first != range.second; ++range.first) {
    auto pair = fields(range.first->second);
    auto key = pair.find(1), value = pair.find(2);
    found[key == pair.end() ? "" : key->second] = value == pair.end() ? "" : value->second;
  }
  return found;
}

// The place in the graph of a TensorInfo, whose field 1 is a name such as "call:0".
TF_Output place(TF_Graph* graph, const std::string& info) {
  auto all = fields(info);
  std::string name = all.find(1)->second;
  size_t colon = name.rfind(':');
  TF_Operation* operation = TF_GraphOperationByName(graph, name.substr(0, colon).c_str());
  if (operation == nullptr) fail("no operation " + name, 4);
  return {operation, std::stoi(name.substr(colon + 1))};
}

// A tensor in the streams: name, type, rank and sides in one line of text; then the bytes of the numbers, or for each
// string a line with its length and its bytes.
bool read_tensor(std::istream& in, std::string* name, TF_Tensor** tensor) {
  std::string line;
  if (!std::getline(in, line) || line.empty()) return false;
  std::istringstream head(line);
  int type, rank;
  head >> *name >> type >> rank;
  std::vector<int64_t> sides(rank);
  int64_t count = 1;
  for (auto& side : sides) { head >> side; count *= side; }
  if (type == TF_STRING) {
    *tensor = TF_AllocateTensor(TF_STRING, sides.data(), rank, count * sizeof(TF_TString));
    auto* strings = static_cast<TF_TString*>(TF_TensorData(*tensor));
    for (int64_t index = 0; index < count; ++index) {
      std::getline(in, line);
      std::string text(std::stoul(line), '\0');
      in.read(text.data(), text.size());
      TF_TString_Init(&strings[index]);
      TF_TString_Copy(&strings[index], text.data(), text.size());
    }
  } else {
    size_t bytes = count * TF_DataTypeSize(TF_DataType(type));
    *tensor = TF_AllocateTensor(TF_DataType(type), sides.data(), rank, bytes);
    in.read(static_cast<char*>(TF_TensorData(*tensor)), bytes);
  }
  return true;
}

void write_tensor(std::ostream& out, const std::string& name, TF_Tensor* tensor) {
  int64_t count = 1;
  out << name << ' ' << TF_TensorType(tensor) << ' ' << TF_NumDims(tensor);
  for (int axis = 0; axis < TF_NumDims(tensor); ++axis) {
    out << ' ' << TF_Dim(tensor, axis);
    count *= TF_Dim(tensor, axis);
  }
  out << '\n';
  if (TF_TensorType(tensor) == TF_STRING) {
    auto* strings = static_cast<TF_TString*>(TF_TensorData(tensor));
    for (int64_t index = 0; index < count; ++index) {
      out << TF_TString_GetSize(&strings[index]) << '\n';
      out.write(TF_TString_GetDataPointer(&strings[index]), TF_TString_GetSize(&strings[index]));
    }
  } else {
    out.write(static_cast<const char*>(TF_TensorData(tensor)), TF_TensorByteSize(tensor));
  }
}

// A SavedModel in memory, with one of its signatures.
class Model {
 public:
  Model(const char* folder, const std::string& signature) : status_(TF_NewStatus()), graph_(TF_NewGraph()) {
    TF_SessionOptions* options = TF_NewSessionOptions();
    TF_Buffer* meta_graph = TF_NewBuffer();
    const char* tags[] = {"serve"};
    session_ = TF_LoadSessionFromSavedModel(options, nullptr, folder, tags, 1, graph_, meta_graph, status_);
    check(status_);
    std::string content(static_cast<const char*>(meta_graph->data), meta_graph->length);
    TF_DeleteBuffer(meta_graph);
    TF_DeleteSessionOptions(options);
    auto signatures = entries(content, 5);  // MetaGraphDef.signature_def
    if (!signatures.count(signature)) fail("no signature " + signature, 4);
    inputs_ = entries(signatures[signature], 1);
    for (auto& entry : entries(signatures[signature], 2)) {
      names_.push_back(entry.first);
      outputs_.push_back(place(graph_, entry.second));
    }
  }

  ~Model() {
    TF_CloseSession(session_, status_);
    TF_DeleteSession(session_, status_);
    TF_DeleteGraph(graph_);
    TF_DeleteStatus(status_);
  }

  // Reads a request, runs it and writes the answer.
  void answer(std::istream& in, std::ostream& out) {
    std::vector<TF_Output> inputs;
    std::vector<TF_Tensor*> values, answers(outputs_.size());
    std::string name;
    for (TF_Tensor* tensor; read_tensor(in, &name, &tensor);) {
      if (!inputs_.count(name)) fail("no input " + name, 4);
      inputs.push_back(place(graph_, inputs_[name]));
      values.push_back(tensor);
    }
    TF_SessionRun(session_, nullptr, inputs.data(), values.data(), inputs.size(), outputs_.data(), answers.data(),
                  outputs_.size(), nullptr, 0, nullptr, status_);
    if (TF_GetCode(status_) == TF_OK) {
      for (size_t index = 0; index < names_.size(); ++index) write_tensor(out, names_[index], answers[index]);
      for (TF_Tensor* tensor : answers) TF_DeleteTensor(tensor);
    } else {
      std::string error = error_of(status_);
      out << "error " << TF_STRING << " 0\n" << error.size() << '\n' << error;
    }
    for (TF_Tensor* tensor : values) TF_DeleteTensor(tensor);
    out << '\n' << std::flush;
  }

 private:
  TF_Status* status_;
  TF_Graph* graph_;
  TF_Session* session_;
  std::map<std::string, std::string> inputs_;
  std::vector<std::string> names_;
  std::vector<TF_Output> outputs_;
};

// Resident megabytes of this process.
long memory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind("VmRSS:", 0) == 0) return std::stol(line.substr(6)) / 1024;
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  bool afresh = argc == 5 && !std::strcmp(argv[4], "afresh");
  if (argc != 4 && !afresh) fail("usage: session_host FOLDER SIGNATURE LIBRARIES [afresh]", 2);
  tensorflow::DisableXlaCompilation();
  TF_Status* status = TF_NewStatus();
  std::istringstream libraries(std::strcmp(argv[3], "-") ? argv[3] : "");
  for (std::string library; std::getline(libraries, library, ':');) {
    TF_LoadLibrary(library.c_str(), status);
    check(status);
  }
  std::unique_ptr<Model> model;
  while (std::cin.peek() != EOF) {
    if (!model || afresh) model = std::make_unique<Model>(argv[1], argv[2]);  // then the one before is unloaded
    model->answer(std::cin, std::cout);
    if (afresh) std::cerr << memory() << std::endl;
  }
  std::_Exit(0);
}

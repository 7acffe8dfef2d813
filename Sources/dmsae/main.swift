print("dmsae")
